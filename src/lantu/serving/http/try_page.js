const form=document.querySelector('form'),out=document.querySelector('#answer'),why=document.querySelector('#why');
const head=()=>{const t=document.querySelector('#token');return t&&t.value?{Authorization:'Bearer '+t.value}:{}};
const value=e=>e.value===''?null:e.dataset.type==='number'&&!isNaN(e.value)?Number(e.value):e.value;
const made=(name,text)=>Object.assign(document.createElement(name),{textContent:text});
function shown(record){
  const table=document.createElement('table');
  for(const [name,v] of Object.entries(record)){const row=table.insertRow();
    const th=made('th',name);th.scope='row';row.append(th);const cell=row.insertCell();
    if(name==='audio'&&record.type==='audio/wav'){
      cell.append(Object.assign(document.createElement('audio'),{controls:true,src:'data:audio/wav;base64,'+v}));continue}
    cell.textContent=typeof v==='number'?+v.toPrecision(6):typeof v==='string'?v:JSON.stringify(v)}
  out.append(table);
}
async function ask(body,headers){
  why.textContent='';out.replaceChildren();
  try{
    const reply=await fetch('predict',{method:'POST',headers:{...head(),...headers},body}),found=await reply.json();
    if(!reply.ok){why.textContent=found.error.message;return}
    found.predictions.forEach(shown);
  }catch(error){why.textContent='No answer: '+error.message}
}
const conversation=[];  // the whole of it is sent each time, as clients of the API do; the answer says what was not read
async function write(prompt){  // tokens appear as they are written; what was asked before stays above
  why.textContent='';
  const messages=[...conversation,{role:'user',content:prompt}];
  const asked=made('p',prompt),text=made('pre','');asked.className='muted';out.append(asked,text);
  const options={stream:true,max_tokens:Number(form.querySelector('#tokens').value),
    temperature:Number(form.querySelector('#temperature').value),messages};
  try{
    const reply=await fetch('v1/chat/completions',{method:'POST',body:JSON.stringify(options),
      headers:{...head(),'Content-Type':'application/json'}});
    if(!reply.ok){why.textContent=(await reply.json()).error.message;return}
    const reader=reply.body.pipeThrough(new TextDecoderStream()).getReader();let rest='';
    for(;;){const {done,value}=await reader.read();if(done)break;
      const events=(rest+value).split('\n\n');rest=events.pop();
      for(const each of events){if(each==='data: [DONE]')continue;
        const part=JSON.parse(each.slice(6));
        if(part.warnings&&!out.querySelector('.warning')){
          const said=made('p',part.warnings.join(' '));said.className='muted warning';text.after(said)}
        for(const choice of part.choices)text.textContent+=choice.delta.content||''}}
    conversation.push(messages.at(-1),{role:'assistant',content:text.textContent});
  }catch(error){why.textContent='No answer: '+error.message}
}
const anew=document.querySelector('#anew');
if(anew)anew.addEventListener('click',()=>{conversation.length=0;out.replaceChildren();why.textContent=''});
form.addEventListener('submit',event=>{
  event.preventDefault();
  const prompt=form.querySelector('[data-writes]'),file=document.querySelector('#file');
  if(prompt){write(prompt.value);return}
  if(file){const body=new FormData();for(const f of file.files)body.append('file',f);ask(body,{});return}
  const row={};for(const e of form.querySelectorAll('[data-name]'))row[e.dataset.name]=value(e);
  ask(JSON.stringify({inputs:[row]}),{'Content-Type':'application/json'});
});
const record=document.querySelector('#record');
if(record)recordsInto(record,sound=>ask(sound,{'Content-Type':'audio/wav'}),said=>{why.textContent=said});
const query=new URLSearchParams(location.search),named=[...form.querySelectorAll('[data-name],[data-writes]')];
const called=e=>e.dataset.name||'prompt';
for(const e of named)if(query.has(called(e)))e.value=query.get(called(e));
if(named.some(e=>query.has(called(e))))form.requestSubmit();
